//! Families of models against what `transformers` and `peft` compute with the same tiny checkpoints.

mod adapters;
mod blocks;
mod canaries;
mod changed_adapters;
mod checkpoints;
mod classes;
mod common;
mod finetune;
mod parity;
mod task;
mod whole;
