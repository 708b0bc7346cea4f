/*
 * The written model of wake x preempt x park x migrate x exit (DESIGN.md 3, spec/preemption.md).
 *
 * One task T is woken by WAKERS wakers (any context) and run by CPUS CPUs. The CPUs take T from one run queue here:
 * that is what migration of a ready or a parked task comes to. Interrupts may preempt a poll at any point after its look
 * at the condition; the poll is then parked, at most PARKS times, and may be resumed on any CPU. The transitions carry
 * the names of the functions that take them (executor/src/task/state.rs, inbox.rs, preempt.rs, executor/run.rs):
 *
 *   wake, push, drain, start_poll, after_pending, park, switch, publish, resume, finish
 *
 * Checked by assertions: T is linked in at most one place (one_place); it is polled by at most one CPU (one_poll); a
 * stack is entered only after it was left (live_stack); the future is dropped once, by the holder of RUN (one_drop).
 * Checked at the end (`rest`): when nobody can move any more, T has seen every event and is DEAD: no wake was lost.
 *
 * Mutants, each of which must fail:
 *   -DMUTANT_NO_RECHECK      after_pending stores IDLE without looking whether a wake came during the poll
 *   -DMUTANT_EARLY_PUBLISH   park publishes the task before its stack is left (bug 3)
 *   -DMUTANT_WAKE_PARKED     a wake pushes a task whose poll is parked
 *   -DMUTANT_KEEP_NOTIFIED   start_poll clears NOTIFIED only after the poll has looked at its condition
 */

#ifndef CPUS
#define CPUS 2
#endif
#ifndef WAKERS
#define WAKERS 2
#endif
#ifndef PARKS
#define PARKS 2
#endif

/* The bits of the state word (task/state.rs). A task that was just made is NOTIFIED, and its maker has queued it. */
bool RUN, NOTIFIED = true, PARKED, DEAD;

/* Where T is linked: an inbox of each CPU, and the run queue. */
byte inbox[CPUS];
byte queued = 1;

/* The reschedule interrupt of each CPU, pending. */
bool ipi[CPUS];

/* Executions of T's frames, and whether the stack that T's poll was on is still the one in use somewhere. */
byte polling;
bool stack_live;
byte drops, parks;

/* What T waits for: all wakers' stores. `frame_look` is in T's frame: it travels with the parked stack. */
byte events, frame_look, wakers_done;

inline push(c) {
	/* inbox::push: one CAS; then the IPI. Preemption is off since the bit was set, or T would be in no list. */
	d_step {
		inbox[c]++;
		assert(inbox[c] == 1 && queued == 0)	/* one_place */
	}
	ipi[c] = true
}

inline wake(c) {
	/* State::wake: one fetch_or decides who pushes. */
	d_step {
#ifdef MUTANT_WAKE_PARKED
		mine = !NOTIFIED && !DEAD && (!RUN || PARKED);
#else
		mine = !NOTIFIED && !DEAD && !RUN;
#endif
		NOTIFIED = true
	}
	if
	:: mine -> push(c)
	:: else
	fi
}

proctype waker(byte c) {
	bool mine;
	events++;	/* the store that makes the condition true is before the wake (Release) */
	wake(c);
	wakers_done++
}

inline drain(c) {
	/* inbox::take and class.enqueue, interrupts masked, the run queue's lock held. */
	d_step {
		ipi[c] = false;
		if
		:: inbox[c] > 0 -> inbox[c]--; queued++; assert(queued == 1)
		:: else
		fi
	}
}

inline start_poll() {
	d_step {
		assert(NOTIFIED && !RUN && !PARKED && !DEAD);
		RUN = true;
#ifndef MUTANT_KEEP_NOTIFIED
		NOTIFIED = false;
#endif
		polling++;
		assert(polling == 1)			/* one_poll */
	}
}

inline resume() {
	d_step {
		assert(RUN && PARKED && !DEAD);
		assert(!stack_live);			/* live_stack */
		PARKED = false;
		polling++;
		assert(polling == 1)			/* one_poll */
	}
}

inline publish() {
	/* finish_switch, the first code on the new stack: PARKED, and to the head of the queue. */
	d_step {
		PARKED = true;
		queued++;
		assert(queued == 1)			/* one_place */
	}
}

inline park() {
	/* Something outranks T: current = none, note to_publish, switch. */
	d_step { parks++; polling--; stack_live = true }
#ifdef MUTANT_EARLY_PUBLISH
	publish();
	stack_live = false	/* switch */
#else
	stack_live = false;	/* switch */
	publish()
#endif
}

inline after_pending() {
	/* The poll has returned; T is off the queue. */
	polling--;
#ifdef MUTANT_NO_RECHECK
	d_step { RUN = false; NOTIFIED = false }
#else
	d_step {
		/* CAS RUN -> IDLE; when that fails, clear RUN and enqueue. */
		woken = NOTIFIED;
		RUN = false
	}
	if
	:: woken -> d_step { queued++; assert(queued == 1) }
	:: else
	fi
#endif
}

inline finish() {
	d_step {
		assert(RUN && !PARKED && !DEAD);
		drops++;
		assert(drops == 1);			/* one_drop */
		polling--;
		RUN = false; NOTIFIED = false; DEAD = true
	}
}

proctype cpu(byte c) {
	bool woken, got;
	do
	:: drain(c);
	   /* class.pick, under the run queue's lock. */
	   d_step { got = queued > 0; if :: got -> queued-- :: else fi }
	   if
	   :: got ->
		if
		:: PARKED -> resume()
		:: else ->
			start_poll();
			frame_look = events;	/* the future looks at its condition */
#ifdef MUTANT_KEEP_NOTIFIED
			NOTIFIED = false;
#endif
		fi;
		if
		:: parks < PARKS -> park()
		:: true ->
			if
			:: frame_look == WAKERS -> finish()
			:: else -> after_pending()
			fi
		fi
	   :: else ->
end_idle:	/* WFI. A parked or ready T on the queue is pulled by an idle CPU. */
		(ipi[c] || queued > 0)
	   fi
	od
}

proctype rest() {
	timeout;
	assert(wakers_done == WAKERS);
	assert(DEAD && drops == 1 && polling == 0 && queued == 0)	/* no_lost_wake */
}

init {
	byte i;
	atomic {
		for (i : 0 .. CPUS - 1) { run cpu(i) }
		for (i : 0 .. WAKERS - 1) { run waker(i % CPUS) }
		run rest()
	}
}
