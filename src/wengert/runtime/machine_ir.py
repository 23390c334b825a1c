"""LLVM IR for what the thread pool needs of the processor and of the operating system: nothing else assumes them.

Functions: pause, now, futex_wait, futex_wake, rest (sleep), float_mode, set_float_mode, default_float_mode; and from
the C library sched_yield and sched_getcpu. Linux on x86-64 and arm64; another system is another entry here.
"""

from __future__ import annotations

_FUTEX = {"x86_64": 202, "aarch64": 98}

# Threads must not change bits, so kernels run under the default rounding and with subnormals, whatever mode the
# calling thread is in (libraries built with -ffast-math switch subnormals off when loaded).
_MACHINE = {
    "x86_64": """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define internal void @pause() alwaysinline {
  call void @llvm.x86.sse2.pause()
  ret void
}
define internal i64 @float_mode() alwaysinline {
  %p = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %p)
  %m = load i32, ptr %p
  %w = zext i32 %m to i64
  ret i64 %w
}
define internal void @set_float_mode(i64 %w) alwaysinline {
  %p = alloca i32
  %m = trunc i64 %w to i32
  store i32 %m, ptr %p
  call void @llvm.x86.sse.ldmxcsr(ptr %p)
  ret void
}
define internal void @default_float_mode() alwaysinline {
  call void @set_float_mode(i64 8064)
  ret void
}
""",
    "aarch64": """
declare void @llvm.aarch64.hint(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
define internal void @pause() alwaysinline {
  call void @llvm.aarch64.hint(i32 1)
  ret void
}
define internal i64 @float_mode() alwaysinline {
  %m = call i64 @llvm.aarch64.get.fpcr()
  ret i64 %m
}
define internal void @set_float_mode(i64 %m) alwaysinline {
  call void @llvm.aarch64.set.fpcr(i64 %m)
  ret void
}
define internal void @default_float_mode() alwaysinline {
  call void @llvm.aarch64.set.fpcr(i64 0)
  ret void
}
""",
}

_SYSTEM = """
declare i64 @syscall(i64, ...)
declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_yield()
declare i32 @sched_getcpu()
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_setaffinity(i32, i64, ptr)

define internal void @futex_wait(ptr %word, i32 %seen) {
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %word, i32 128, i32 %seen, ptr null)
  ret void
}
define internal void @futex_wake(ptr %word, i32 %count) {
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %word, i32 129, i32 %count)
  ret void
}
define internal i64 @now() {
  %t = alloca [2 x i64]
  %r = call i32 @clock_gettime(i32 1, ptr %t)
  %n = getelementptr i64, ptr %t, i64 1
  %s = load i64, ptr %t
  %f = load i64, ptr %n
  %s9 = mul i64 %s, 1000000000
  %v = add i64 %s9, %f
  ret i64 %v
}

; Sleep, away from the processor whose number %cpu.p points at. The kernel likes to put a woken thread on the
; processor of the one that woke it, where it waits while the caller works (2 ms lost instead of 30 us). The mask is
; put back after waking, unless somebody else has changed it meanwhile.
define internal void @rest(ptr %cpu.p, ptr %word, i32 %seen) {
entry:
  %old = alloca <16 x i64>, align 128
  %away = alloca <16 x i64>, align 128
  store <16 x i64> zeroinitializer, ptr %old
  %cpu32 = load atomic i32, ptr %cpu.p seq_cst, align 4
  %cpu = zext i32 %cpu32 to i64
  %sane = icmp ult i64 %cpu, 1024
  %g = call i32 @sched_getaffinity(i32 0, i64 128, ptr %old)
  %got = icmp eq i32 %g, 0
  %go = and i1 %sane, %got
  br i1 %go, label %move, label %plain
plain:
  call void @futex_wait(ptr %word, i32 %seen)
  ret void
move:
  %m = load <16 x i64>, ptr %old
  store <16 x i64> %m, ptr %away
  %index = lshr i64 %cpu, 6
  %shift = and i64 %cpu, 63
  %one = shl i64 1, %shift
  %not = xor i64 %one, -1
  %word.p = getelementptr i64, ptr %away, i64 %index
  %bits = load i64, ptr %word.p
  %less = and i64 %bits, %not
  store i64 %less, ptr %word.p
  %set = load <16 x i64>, ptr %away
  %x = call i32 @sched_setaffinity(i32 0, i64 128, ptr %away)
  call void @futex_wait(ptr %word, i32 %seen)
  store <16 x i64> zeroinitializer, ptr %away
  %g2 = call i32 @sched_getaffinity(i32 0, i64 128, ptr %away)
  %now = load <16 x i64>, ptr %away
  %ne = icmp ne <16 x i64> %now, %set
  %ne.bits = bitcast <16 x i1> %ne to i16
  %ours = icmp eq i16 %ne.bits, 0
  br i1 %ours, label %back, label %done
back:
  %y = call i32 @sched_setaffinity(i32 0, i64 128, ptr %old)
  br label %done
done:
  ret void
}
"""


def machine_ir(machine: str) -> str:
    """Declarations and functions for `machine`, "x86_64" or "aarch64".

    Raises:
        NotImplementedError: for another one.
    """
    if machine not in _MACHINE:
        raise NotImplementedError(f"wengert's thread pool does not know the processor {machine!r}")
    return _MACHINE[machine] + _SYSTEM.replace("FUTEX", str(_FUTEX[machine]))
