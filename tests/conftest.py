"""What holds for every test."""

import signal

from hypothesis import HealthCheck, settings

# Whoever starts the tests in the background may have them ignore interrupts, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no defect of what is tested.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
