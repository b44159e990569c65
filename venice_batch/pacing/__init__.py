"""Decide when the next request may be sent: arithmetic on given moments, without a clock or an event loop."""
