"""Destinations: how a delivery leaves. `base.py` is the contract, `webhook.py` a signed HTTP POST."""
