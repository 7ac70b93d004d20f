//! Kernel side of profiler.
#![no_std]
