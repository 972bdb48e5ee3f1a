"""HTTP routes of the executor API."""
