"""Logging to trackers, beside a fit or after."""
