//! The wire form of a plan, shared by the runtime (which encodes) and the stub (which decodes).
#![no_std]
