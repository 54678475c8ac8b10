"""What a drill runs on. Starts, stops and repairs; decides and checks nothing.

environment        servers and platform, embedded or external, before anything works on them
external_servers   checks and cleanup of servers that a person names
beside             the second platform, in worlds that have one
workforce          starts and replaces workers and sweepers; processes holds their classes
rig                all of it together, as faults and checkers use it

A process that the drill starts goes into ``processes``; a fault that breaks it goes into ``faults/``.
"""
