"""Contracts: what every implementation of an interface must hold, run on each of them."""
