"""What it costs to keep subscribers up to date: this project and what one would use instead."""
