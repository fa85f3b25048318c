//! An assembler for the few classic BPF instructions that a filter needs.
//! See bpf(4) of BSD and `linux/filter.h`; jumps are forward, counted in instructions.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K};
use libc::{BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Instructions in order.
pub(super) type Program = Vec<sock_filter>;

/// Where a field lies in `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    CallNumber,
    Architecture,
    /// The low 32 bits of an argument. The high ones are never looked at: the kernel ignores them
    /// wherever an argument is an `int`, so a filter that compares them can be evaded.
    ArgumentLow(u8),
}

pub(super) fn load(field: Field) -> sock_filter {
    const LOW_WORD: u32 = if cfg!(target_endian = "little") { 0 } else { 4 };
    let offset = match field {
        Field::CallNumber => 0,
        Field::Architecture => 4,
        Field::ArgumentLow(index) => 16 + 8 * u32::from(index) + LOW_WORD,
    };
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

pub(super) fn mask(bits: u32) -> sock_filter {
    instruction(BPF_ALU | BPF_AND | BPF_K, 0, 0, bits)
}

pub(super) fn answer(action: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, 0, 0, action)
}

pub(super) fn jump(over: u32) -> sock_filter {
    instruction(BPF_JMP | BPF_JA, 0, 0, over)
}

pub(super) fn if_equal(value: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(BPF_JMP | BPF_JEQ | BPF_K, then, otherwise, value)
}

pub(super) fn if_greater(value: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(BPF_JMP | BPF_JGT | BPF_K, then, otherwise, value)
}

pub(super) fn if_any_bit(bits: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(BPF_JMP | BPF_JSET | BPF_K, then, otherwise, bits)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // Every code is below 256.
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}
