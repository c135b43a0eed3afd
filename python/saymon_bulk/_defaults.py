"""The defaults of arguments, in seconds where they are times. `get_bulk_status` has its own two in Rust."""

from __future__ import annotations

REQUEST_TIMEOUT = 30.0
TIMEOUT = 3600.0
INTERVAL = 1.0
MAX_INTERVAL = 10.0
RETRIES = 10
CONCURRENCY = 16
