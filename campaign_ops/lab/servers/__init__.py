"""Real servers for the demo, the drill, the benchmarks and the tests, from wheels where possible."""
