"""The deep towers in torch: model, losses, batches, training and the saved artifact."""
