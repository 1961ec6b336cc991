"""What holds for the whole suite."""

from __future__ import annotations

from hypothesis import settings

# No deadline: on a busy machine an example's time tells of the neighbours, not of the code.
settings.register_profile("gatepost", deadline=None)
settings.load_profile("gatepost")
