"""Neighbour models: item-item weights, user neighbours, content and content neighbours."""
