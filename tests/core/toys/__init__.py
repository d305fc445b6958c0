"""Toy layers, ops, solver and backends: everything the core needs to prove itself without the std plugins."""
