"""Features of users and items from attributes, text, images and behaviour."""
