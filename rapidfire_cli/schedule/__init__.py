"""Who trains what, where, until when: events in, actions out."""
