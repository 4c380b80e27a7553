"""What holds for every test."""

import signal

from hypothesis import settings

settings.register_profile("rapidfire", deadline=None)  # a busy machine is no failure
settings.load_profile("rapidfire")
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # else what tests start under nohup would ignore it, too
signal.signal(signal.SIGINT, signal.default_int_handler)  # as it is ignored in a shell's background
