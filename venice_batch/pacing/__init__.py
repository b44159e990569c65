"""When the next request may be sent: decisions on plain numbers, without a loop or a clock."""
