"""Attributes and behaviour as features."""
