"""A run: workers take jobs, attempts are paced, paid for and recorded, and something may stop it all early."""
