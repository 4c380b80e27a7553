"""Trackers: experiments in other tools."""
