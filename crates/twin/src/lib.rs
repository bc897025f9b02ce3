//! The Meta edge twin and agent twins: independent peers for tests, demo and operators.
