"""The platform's queue: everything that is read from Redis or written to it.

From the top: `queue_group` (several queues answered for as one) and `queue` (one queue, the way to add jobs) stand on
`reader` (what a sweep asks) and `writer` (BullMQ's own client, the only code that writes). Reading: `connection`,
`states`, `server`, `workers`, `owner`, `snapshot`, `live_jobs`, `completed_jobs`, `newcomers`, `markers`, `events`.
A job's content: `jobs`, `payload`, `wanted`, `sample`. `guard` is the last check inside Redis, `address` holds URLs,
clients and the mapping of the driver's errors, `facts` what the platform's database knows about its queue.

A new key or command goes into `connection`, `states` or `owner`; a new question into a file of its own and a method of
`reader`. What follows from the answers is decided in `core` and `sweep`, not here.
"""
