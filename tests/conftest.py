"""What holds for every test."""

import signal

# Whoever starts the tests in the background may have them ignore interrupts, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
