//! Families of models against what `transformers` and `peft` compute with the same tiny checkpoints.

mod adapters;
mod blocks;
mod checkpoints;
mod classes;
mod common;
mod finetune;
mod parity;
mod task;
mod whole;
