"""The LLVM IR of the fork-join pool and of the plan runner (see `threads`, its only user).

A pool is a block of memory that the caller and the workers share; every field that is written often has a cache line
of its own:

    state     generation << 32 | open << 31 | number of workers inside the job
    next      first task that nobody has taken
    job       kernel, args, tasks, chunk: constant while anyone is inside
    wake      futex word of sleeping workers; `sleepers` counts them
    joiner    1 while the caller sleeps until the last worker leaves
    stop      1 ends the workers
    busy      1 while a caller uses the pool
    spin_ns   how long anyone spins before sleeping; 0 also says that there are more threads than processors
    threads   workers + 1
    cpu       processor on which the last job was opened

The caller fills the job, opens it under a new generation, takes chunks like everybody else, closes it, and waits for
those workers that are inside, never for one that did not come in time: a worker enters by a compare-and-swap on
`state` that fails once the job is closed. So a step costs no more than a few atomic operations when it ends before the
workers wake up. A caller that is to come back now and then (signals are answered between two native calls) takes all
tasks that are left away from the workers once its time is over, and returns how far the job is. All atomics are
sequentially consistent: "announce, then look at the other side" (state and sleepers, joiner and state) needs it.
"""

from __future__ import annotations

from wengert.runtime.machine_ir import machine_ir

TURN_NANOSECONDS = 100_000_000  # after which a native call returns, to be continued
LONGEST = 32  # chunks are at most so many times the least that is worth a thread: nobody waits long for their end
POOL_BYTES = 640
SPIN_OFFSET = 576
THREADS_OFFSET = 584
CHAIN_HEAD = 6  # numbers of a chain before those of its members
_FIELDS = {
    "next": 64,
    "job": 128,
    "wake": 192,
    "sleepers": 256,
    "joiner": 320,
    "stop": 384,
    "busy": 448,
    "cpu": 512,
    "spin_ns": SPIN_OFFSET,
    "threads": THREADS_OFFSET,
}
_PROTOCOL = """
; True if the pool stops or has a job open that is not of generation %last.
define internal i1 @called(ptr %pool, i64 %last) alwaysinline {
  %stop.p = getelementptr i8, ptr %pool, i64 @stop
  %s = load atomic i64, ptr %pool seq_cst, align 8
  %gen = lshr i64 %s, 32
  %new = icmp ne i64 %gen, %last
  %bit = and i64 %s, 2147483648
  %open = icmp ne i64 %bit, 0
  %job = and i1 %open, %new
  %st = load atomic i32, ptr %stop.p seq_cst, align 4
  %stopped = icmp ne i32 %st, 0
  %r = or i1 %job, %stopped
  ret i1 %r
}

; Take chunks of the open job until none is left, or the time is over: then nobody gets more. Returns the first task
; that nobody has taken.
define internal i64 @take(ptr %pool, i64 %until) {
entry:
  %next.p = getelementptr i8, ptr %pool, i64 @next
  %k.p = getelementptr i8, ptr %pool, i64 @job
  %a.p = getelementptr i8, ptr %k.p, i64 8
  %t.p = getelementptr i8, ptr %k.p, i64 16
  %c.p = getelementptr i8, ptr %k.p, i64 24
  %kernel = load ptr, ptr %k.p
  %args = load ptr, ptr %a.p
  %tasks = load i64, ptr %t.p
  %chunk = load i64, ptr %c.p
  br label %more
more:
  %lo = atomicrmw add ptr %next.p, i64 %chunk seq_cst
  %some = icmp slt i64 %lo, %tasks
  br i1 %some, label %do, label %done
do:
  %end = add i64 %lo, %chunk
  %over = icmp sgt i64 %end, %tasks
  %hi = select i1 %over, i64 %tasks, i64 %end
  call void %kernel(ptr %args, i64 %lo, i64 %hi)
  %late = call i1 @past(i64 %until)
  br i1 %late, label %leave, label %more
leave:
  %left = atomicrmw xchg ptr %next.p, i64 %tasks seq_cst
  br label %done
done:
  %at = phi i64 [%lo, %more], [%left, %leave]
  %r = call i64 @llvm.smin.i64(i64 %at, i64 %tasks)
  ret i64 %r
}

; True if the clock has passed %until; 0 stands for never.
define internal i1 @past(i64 %until) alwaysinline {
entry:
  %ever = icmp ne i64 %until, 0
  br i1 %ever, label %look, label %done
look:
  %t = call i64 @now()
  %over = icmp sge i64 %t, %until
  br label %done
done:
  %r = phi i1 [false, %entry], [%over, %look]
  ret i1 %r
}

; A worker: returns when the pool stops.
define void @pool_work(ptr %pool) {
entry:
  %stop.p = getelementptr i8, ptr %pool, i64 @stop
  %wake.p = getelementptr i8, ptr %pool, i64 @wake
  %sleepers.p = getelementptr i8, ptr %pool, i64 @sleepers
  %joiner.p = getelementptr i8, ptr %pool, i64 @joiner
  %spin.p = getelementptr i8, ptr %pool, i64 @spin_ns
  %cpu.p = getelementptr i8, ptr %pool, i64 @cpu
  %spin = load i64, ptr %spin.p
  call void @default_float_mode()
  br label %look
look:
  %last = phi i64 [0, %entry], [%last, %awake], [%last, %enter], [%gen, %left]
  %start = call i64 @now()
  br label %spinning
spinning:
  %i = phi i64 [0, %look], [%i1, %again], [%i1, %clock]
  %yes = call i1 @called(ptr %pool, i64 %last)
  br i1 %yes, label %answer, label %idle
idle:
  call void @pause()
  %i1 = add i64 %i, 1
  %low = and i64 %i1, 15
  %tick = icmp eq i64 %low, 0
  br i1 %tick, label %clock, label %again
again:
  br label %spinning
clock:
  %t = call i64 @now()
  %spent = sub i64 %t, %start
  %tired = icmp sge i64 %spent, %spin
  br i1 %tired, label %sleep, label %spinning
sleep:
  %w = load atomic i32, ptr %wake.p seq_cst, align 4
  %s0 = atomicrmw add ptr %sleepers.p, i32 1 seq_cst
  %late = call i1 @called(ptr %pool, i64 %last)
  br i1 %late, label %awake, label %down
down:
  %roomy = icmp sgt i64 %spin, 0
  br i1 %roomy, label %rest, label %crowded
rest:
  call void @rest(ptr %cpu.p, ptr %wake.p, i32 %w)
  br label %awake
crowded:
  call void @futex_wait(ptr %wake.p, i32 %w)
  br label %awake
awake:
  %s1 = atomicrmw sub ptr %sleepers.p, i32 1 seq_cst
  br label %look
answer:
  %st = load atomic i32, ptr %stop.p seq_cst, align 4
  %stopped = icmp ne i32 %st, 0
  br i1 %stopped, label %quit, label %enter
enter:
  %s = load atomic i64, ptr %pool seq_cst, align 8
  %gen = lshr i64 %s, 32
  %bit = and i64 %s, 2147483648
  %open = icmp ne i64 %bit, 0
  %in = add i64 %s, 1
  br i1 %open, label %swap, label %look
swap:
  %x = cmpxchg ptr %pool, i64 %s, i64 %in seq_cst seq_cst
  %ok = extractvalue { i64, i1 } %x, 1
  br i1 %ok, label %work, label %enter.again
enter.again:
  br label %answer
work:
  %taken = call i64 @take(ptr %pool, i64 0)
  %was = atomicrmw sub ptr %pool, i64 1 seq_cst
  %half = trunc i64 %was to i32
  %closed.last = icmp eq i32 %half, 1
  %j = load atomic i32, ptr %joiner.p seq_cst, align 4
  %joining = icmp ne i32 %j, 0
  %tell = and i1 %closed.last, %joining
  br i1 %tell, label %ring, label %left
ring:
  call void @futex_wake(ptr %pool, i32 1)
  br label %left
left:
  br label %look
quit:
  ret void
}

define void @pool_stop(ptr %pool) {
  %stop.p = getelementptr i8, ptr %pool, i64 @stop
  %wake.p = getelementptr i8, ptr %pool, i64 @wake
  store atomic i32 1, ptr %stop.p seq_cst, align 4
  %w = atomicrmw add ptr %wake.p, i32 1 seq_cst
  call void @futex_wake(ptr %wake.p, i32 2147483647)
  ret void
}

define internal i1 @try_lock(ptr %pool) alwaysinline {
  %busy.p = getelementptr i8, ptr %pool, i64 @busy
  %x = cmpxchg ptr %busy.p, i32 0, i32 1 seq_cst seq_cst
  %ok = extractvalue { i32, i1 } %x, 1
  ret i1 %ok
}

; Wait until no caller uses the pool, and keep callers out (they run serially).
define void @pool_lock(ptr %pool) {
entry:
  br label %try
try:
  %ok = call i1 @try_lock(ptr %pool)
  br i1 %ok, label %done, label %wait
wait:
  %r = call i32 @sched_yield()
  br label %try
done:
  ret void
}

define void @pool_unlock(ptr %pool) {
  %busy.p = getelementptr i8, ptr %pool, i64 @busy
  store atomic i32 0, ptr %busy.p seq_cst, align 4
  ret void
}

; One step on all threads, from task %first on. Returns the first task that is not done, once all before it are.
define internal i64 @fork_join(
    ptr %pool, ptr %kernel, ptr %args, i64 %first, i64 %tasks, i64 %grain, i64 %threads, i64 %until) {
entry:
  %next.p = getelementptr i8, ptr %pool, i64 @next
  %wake.p = getelementptr i8, ptr %pool, i64 @wake
  %sleepers.p = getelementptr i8, ptr %pool, i64 @sleepers
  %joiner.p = getelementptr i8, ptr %pool, i64 @joiner
  %spin.p = getelementptr i8, ptr %pool, i64 @spin_ns
  %cpu.p = getelementptr i8, ptr %pool, i64 @cpu
  %k.p = getelementptr i8, ptr %pool, i64 @job
  %a.p = getelementptr i8, ptr %k.p, i64 8
  %t.p = getelementptr i8, ptr %k.p, i64 16
  %c.p = getelementptr i8, ptr %k.p, i64 24
  %parts = mul i64 %threads, 4
  %share = sdiv i64 %tasks, %parts
  %most = mul i64 %grain, @longest
  %some = call i64 @llvm.smin.i64(i64 %share, i64 %most)
  %chunk = call i64 @llvm.smax.i64(i64 %some, i64 %grain)
  store ptr %kernel, ptr %k.p
  store ptr %args, ptr %a.p
  store i64 %tasks, ptr %t.p
  store i64 %chunk, ptr %c.p
  store atomic i64 %first, ptr %next.p seq_cst, align 8
  %cpu = call i32 @sched_getcpu()
  store atomic i32 %cpu, ptr %cpu.p seq_cst, align 4
  %old = load atomic i64, ptr %pool seq_cst, align 8
  %gen = and i64 %old, -4294967296
  %gen1 = add i64 %gen, 4294967296
  %open = or i64 %gen1, 2147483648
  store atomic i64 %open, ptr %pool seq_cst, align 8
  %sl = load atomic i32, ptr %sleepers.p seq_cst, align 4
  %anyone = icmp sgt i32 %sl, 0
  br i1 %anyone, label %wake, label %work
wake:
  %w = atomicrmw add ptr %wake.p, i32 1 seq_cst
  call void @futex_wake(ptr %wake.p, i32 2147483647)
  br label %work
work:
  %end = call i64 @take(ptr %pool, i64 %until)
  %c = atomicrmw and ptr %pool, i64 -2147483649 seq_cst
  %c.low = and i64 %c, 2147483647
  %alone = icmp eq i64 %c.low, 0
  br i1 %alone, label %done, label %join
join:
  %spin = load i64, ptr %spin.p
  %start = call i64 @now()
  br label %spinning
spinning:
  %i = phi i64 [0, %join], [%i1, %idle], [%i1, %clock]
  %s = load atomic i64, ptr %pool seq_cst, align 8
  %count = and i64 %s, 2147483647
  %empty = icmp eq i64 %count, 0
  br i1 %empty, label %done, label %idle
idle:
  call void @pause()
  %i1 = add i64 %i, 1
  %low = and i64 %i1, 15
  %tick = icmp eq i64 %low, 0
  br i1 %tick, label %clock, label %spinning
clock:
  %t = call i64 @now()
  %spent = sub i64 %t, %start
  %tired = icmp sge i64 %spent, %spin
  br i1 %tired, label %sleep, label %spinning
sleep:
  store atomic i32 1, ptr %joiner.p seq_cst, align 4
  br label %recheck
recheck:
  %s2 = load atomic i64, ptr %pool seq_cst, align 8
  %half = trunc i64 %s2 to i32
  %over = icmp eq i32 %half, 0
  br i1 %over, label %woken, label %down
down:
  call void @futex_wait(ptr %pool, i32 %half)
  br label %recheck
woken:
  store atomic i32 0, ptr %joiner.p seq_cst, align 4
  br label %done
done:
  ret i64 %end
}

; Tasks of a chain (`compiler.strips`): %args are the number of members, the strips, how many of them make a task, the
; cells of the members and how many these are, and the number of local pointers; then for each member [kernel, its
; first cell, its tasks in each strip, its tasks], and for each local pointer [its cell, bytes in a strip]. The call has
; cells of its own, whose local pointers move back by a strip where rows go on by one.
define void @chain(ptr %args, i64 %lo, i64 %hi) "frame-pointer"="all" {
entry:
  %strips.p = getelementptr i64, ptr %args, i64 1
  %together.p = getelementptr i64, ptr %args, i64 2
  %given.p = getelementptr i64, ptr %args, i64 3
  %count.p = getelementptr i64, ptr %args, i64 4
  %locals.n = getelementptr i64, ptr %args, i64 5
  %member.p = getelementptr i64, ptr %args, i64 CHAIN_HEAD
  %members = load i64, ptr %args
  %strips = load i64, ptr %strips.p
  %together = load i64, ptr %together.p
  %given = load ptr, ptr %given.p
  %count = load i64, ptr %count.p
  %locals = load i64, ptr %locals.n
  %members4 = mul i64 %members, 4
  %local.p = getelementptr i64, ptr %member.p, i64 %members4
  %own = alloca i64, i64 %count, align 64
  %bytes = mul i64 %count, 8
  call void @llvm.memcpy.p0.p0.i64(ptr align 8 %own, ptr align 8 %given, i64 %bytes, i1 false)
  %first = mul i64 %lo, %together
  %last = mul i64 %hi, %together
  %end = call i64 @llvm.smin.i64(i64 %last, i64 %strips)
  %any = icmp slt i64 %first, %end
  br i1 %any, label %strip, label %done
strip:
  %s = phi i64 [%first, %entry], [%s1, %strip.end]
  br label %member
member:
  %m = phi i64 [0, %strip], [%m1, %member]
  %m4 = mul i64 %m, 4
  %p = getelementptr i64, ptr %member.p, i64 %m4
  %cells.p = getelementptr i64, ptr %p, i64 1
  %turns.p = getelementptr i64, ptr %p, i64 2
  %tasks.p = getelementptr i64, ptr %p, i64 3
  %kernel = load ptr, ptr %p
  %cell = load i64, ptr %cells.p
  %cells = getelementptr i64, ptr %own, i64 %cell
  %turns = load i64, ptr %turns.p
  %tasks = load i64, ptr %tasks.p
  %from = mul i64 %s, %turns
  %to = add i64 %from, %turns
  %until = call i64 @llvm.smin.i64(i64 %to, i64 %tasks)
  call void %kernel(ptr %cells, i64 %from, i64 %until)
  %m1 = add i64 %m, 1
  %more = icmp slt i64 %m1, %members
  br i1 %more, label %member, label %worked
worked:
  %moves = icmp sgt i64 %locals, 0
  br i1 %moves, label %local, label %strip.end
local:
  %q = phi i64 [0, %worked], [%q1, %local]
  %q2 = mul i64 %q, 2
  %which.p = getelementptr i64, ptr %local.p, i64 %q2
  %step.p = getelementptr i64, ptr %which.p, i64 1
  %which = load i64, ptr %which.p
  %step = load i64, ptr %step.p
  %moved.p = getelementptr i64, ptr %own, i64 %which
  %before = load i64, ptr %moved.p
  %after = sub i64 %before, %step
  store i64 %after, ptr %moved.p
  %q1 = add i64 %q, 1
  %rest = icmp slt i64 %q1, %locals
  br i1 %rest, label %local, label %strip.end
strip.end:
  %s1 = add i64 %s, 1
  %again = icmp slt i64 %s1, %end
  br i1 %again, label %strip, label %done
done:
  ret void
}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)

; Run %count steps of %plan on the calling thread, from %place on: step << 40 | task. Returns the place where it was
; left when its time was over, or 0 when all is done. A negative place is the beginning of what is not to be left.
define i64 @run_plan(ptr %plan, i64 %count, i64 %place) {
  %r = call i64 @walk(ptr %plan, i64 %count, ptr null, i64 1, i64 %place)
  ret i64 %r
}

; The same on the threads of %pool; a pool that somebody else uses is not waited for.
define i64 @run_plan_on(ptr %plan, i64 %count, i64 %place, ptr %pool) {
  %threads.p = getelementptr i8, ptr %pool, i64 @threads
  %threads = load i64, ptr %threads.p
  %r = call i64 @walk(ptr %plan, i64 %count, ptr %pool, i64 %threads, i64 %place)
  ret i64 %r
}

define internal i64 @walk(ptr %plan, i64 %count, ptr %pool, i64 %threads, i64 %place) {
entry:
  %mode = call i64 @float_mode()
  call void @default_float_mode()
  %begin = call i64 @llvm.smax.i64(i64 %place, i64 0)
  %step0 = lshr i64 %begin, 40
  %task0 = and i64 %begin, 1099511627775
  %now = call i64 @now()
  %end.of.turn = add i64 %now, @turn
  %all = icmp slt i64 %place, 0
  %until = select i1 %all, i64 0, i64 %end.of.turn
  %given = icmp ne ptr %pool, null
  br i1 %given, label %lock, label %head
lock:
  %got = call i1 @try_lock(ptr %pool)
  br label %head
head:
  %mine = phi i1 [false, %entry], [%got, %lock]
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %step, label %end
step:
  %i = phi i64 [%step0, %head], [%i1, %next]
  %t0 = phi i64 [%task0, %head], [0, %next]
  %k.p = getelementptr [4 x i64], ptr %plan, i64 %i
  %a.p = getelementptr i64, ptr %k.p, i64 1
  %t.p = getelementptr i64, ptr %k.p, i64 2
  %g.p = getelementptr i64, ptr %k.p, i64 3
  %kernel = load ptr, ptr %k.p
  %args = load ptr, ptr %a.p
  %tasks = load i64, ptr %t.p
  %grain = load i64, ptr %g.p
  %g0 = icmp slt i64 %grain, 1
  %least = select i1 %g0, i64 1, i64 %grain
  %left = sub i64 %tasks, %t0
  %large = icmp sgt i64 %left, %least
  %split = and i1 %mine, %large
  br i1 %split, label %parallel, label %serial
parallel:
  %done.p = call i64 @fork_join(
      ptr %pool, ptr %kernel, ptr %args, i64 %t0, i64 %tasks, i64 %least, i64 %threads, i64 %until)
  br label %clock
serial:
  %work = icmp sgt i64 %left, 0
  br i1 %work, label %call, label %next
call:
  %lo = phi i64 [%t0, %serial], [%hi, %on]
  %part = mul i64 %least, @longest
  %far = add i64 %lo, %part
  %hi = call i64 @llvm.smin.i64(i64 %far, i64 %tasks)
  call void %kernel(ptr %args, i64 %lo, i64 %hi)
  br i1 %large, label %on, label %now.and.then
on:
  %rest = icmp slt i64 %hi, %tasks
  %over.s = call i1 @past(i64 %until)
  %again = xor i1 %over.s, true
  %stay = and i1 %rest, %again
  br i1 %stay, label %call, label %clock
now.and.then:
  %low = and i64 %i, 15
  %turn = icmp eq i64 %low, 15
  br i1 %turn, label %clock, label %next
clock:
  %at = phi i64 [%done.p, %parallel], [%hi, %on], [%tasks, %now.and.then]
  %over = call i1 @past(i64 %until)
  br i1 %over, label %pause, label %clock.end
clock.end:
  %unfinished = icmp slt i64 %at, %tasks
  br i1 %unfinished, label %pause, label %next
next:
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, %count
  br i1 %more, label %step, label %end
pause:
  %full = icmp sge i64 %at, %tasks
  %one = zext i1 %full to i64
  %step1 = add i64 %i, %one
  %task1 = select i1 %full, i64 0, i64 %at
  %high = shl i64 %step1, 40
  %there = or i64 %high, %task1
  %last = icmp sge i64 %step1, %count
  %result = select i1 %last, i64 0, i64 %there
  br label %end
end:
  %r = phi i64 [0, %head], [0, %next], [%result, %pause]
  br i1 %mine, label %unlock, label %done
unlock:
  call void @pool_unlock(ptr %pool)
  br label %done
done:
  call void @set_float_mode(i64 %mode)
  ret i64 %r
}
"""


def pool_ir(machine: str) -> str:
    """The module for `machine` ("x86_64" or "aarch64"): machine-dependent part and protocol."""
    text = _PROTOCOL
    text = text.replace("i64 CHAIN_HEAD\n", f"i64 {CHAIN_HEAD}\n")
    for field, offset in _FIELDS.items():
        text = text.replace(f"i64 @{field}\n", f"i64 {offset}\n")
    text = text.replace(", @longest\n", f", {LONGEST}\n").replace(", @turn\n", f", {TURN_NANOSECONDS}\n")
    return machine_ir(machine) + text
