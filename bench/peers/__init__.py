"""The contenders, one file each: `contend(work)` does the work and says how long that took."""
