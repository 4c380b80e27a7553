"""Steering: how requests reach the process that holds an experiment's lock, and what it does about them."""
