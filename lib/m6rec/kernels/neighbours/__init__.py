"""Neighbour models: item-item weights, transitions, user neighbours and content neighbours."""
