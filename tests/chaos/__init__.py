"""Everything fails at random while others write and follow: what must hold, holds throughout.

`make chaos SEED=… SECONDS=… DATABASE=…`; docs/chaos.md tells what is done and what holds.
"""
