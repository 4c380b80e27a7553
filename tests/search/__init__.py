"""Tests of the searches: what they may choose among, and what they propose."""
