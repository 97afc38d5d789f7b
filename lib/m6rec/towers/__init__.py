"""The deep towers in torch: model, losses, batches, training, saved artifact."""
