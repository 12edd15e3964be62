package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// contendForMutex has sessions take one mutex in turns. Who has it adds one to a number by a read and a write that nothing
// else guards, so a second holder shows as a lost step.
func contendForMutex(r *run) error {
	sessions := r.flags.Int("sessions", 5, "how many contend")
	turns := r.flags.Int("turns", 10, "how often each of them takes it")
	if err := r.parse(); err != nil {
		return err
	}
	err := all(*sessions, func(number int) error {
		session, err := concurrency.NewSession(r.client, concurrency.WithTTL(10))
		if err != nil {
			return err
		}
		defer session.Close()
		mutex := concurrency.NewMutex(session, "mutex/")
		for range *turns {
			ctx, cancel := limited()
			err := turn(ctx, r, mutex, number)
			cancel()
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	count, err := number(ctx, r.client, "counter")
	r.say(line{"what": "counted", "count": count})
	return err
}

func turn(ctx context.Context, r *run, mutex *concurrency.Mutex, session int) error {
	if err := mutex.Lock(ctx); err != nil {
		return err
	}
	r.say(line{"what": "locked", "session": session, "revision": mutex.Header().Revision})
	count, err := number(ctx, r.client, "counter")
	if err != nil {
		return err
	}
	if _, err := r.client.Put(ctx, "counter", strconv.Itoa(count+1)); err != nil {
		return err
	}
	owner, err := r.client.Txn(ctx).If(mutex.IsOwner()).Commit()
	if err != nil {
		return err
	}
	r.say(line{"what": "unlocks", "session": session, "owns": owner.Succeeded})
	return mutex.Unlock(ctx)
}

func number(ctx context.Context, client *clientv3.Client, key string) (int, error) {
	got, err := client.Get(ctx, key)
	if err != nil || len(got.Kvs) == 0 {
		return 0, err
	}
	return strconv.Atoi(string(got.Kvs[0].Value))
}

// holdElections has candidates lead one after the other. Each waits until an observer has seen what it proclaimed.
func holdElections(r *run) error {
	candidates := r.flags.Int("candidates", 4, "how many campaign")
	if err := r.parse(); err != nil {
		return err
	}
	observing, stop := context.WithCancel(context.Background())
	defer stop()
	session, err := concurrency.NewSession(r.client)
	if err != nil {
		return err
	}
	defer session.Close()
	seen := newSeen()
	go func() {
		for leader := range concurrency.NewElection(session, "election").Observe(observing) {
			value := string(leader.Kvs[0].Value)
			r.say(line{"what": "observed", "value": value})
			seen.add(value)
		}
	}()
	return all(*candidates, func(number int) error {
		session, err := concurrency.NewSession(r.client, concurrency.WithTTL(10))
		if err != nil {
			return err
		}
		defer session.Close()
		ctx, cancel := limited()
		defer cancel()
		election := concurrency.NewElection(session, "election")
		first, second := fmt.Sprintf("%d-elected", number), fmt.Sprintf("%d-proclaims", number)
		if err := election.Campaign(ctx, first); err != nil {
			return err
		}
		r.say(line{"what": "leads", "candidate": number, "revision": election.Rev()})
		if err := seen.wait(ctx, first); err != nil {
			return err
		}
		if err := election.Proclaim(ctx, second); err != nil {
			return err
		}
		if err := seen.wait(ctx, second); err != nil {
			return err
		}
		leader, err := election.Leader(ctx)
		if err != nil {
			return err
		}
		r.say(line{"what": "resigns", "candidate": number, "leader": string(leader.Kvs[0].Value)})
		return election.Resign(ctx)
	})
}

// Values that were seen, and those who wait for one.
type seenValues struct {
	mutex   sync.Mutex
	waiting map[string]chan struct{}
}

func newSeen() *seenValues { return &seenValues{waiting: map[string]chan struct{}{}} }

func (s *seenValues) of(value string) chan struct{} {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.waiting[value] == nil {
		s.waiting[value] = make(chan struct{})
	}
	return s.waiting[value]
}

// add is called by one goroutine.
func (s *seenValues) add(value string) {
	waiting := s.of(value)
	select {
	case <-waiting:
	default:
		close(waiting)
	}
}

func (s *seenValues) wait(ctx context.Context, value string) error {
	select {
	case <-s.of(value):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("nobody observed %s: %w", value, ctx.Err())
	}
}

// transfer moves amounts between accounts by software transactions of every isolation that keeps a sum, and reads all
// of them at one revision meanwhile.
func transfer(r *run) error {
	accounts := r.flags.Int("accounts", 5, "how many accounts there are, with 100 each")
	transfers := r.flags.Int("transfers", 40, "how many each client makes")
	if err := r.parse(); err != nil {
		return err
	}
	account := func(n int) string { return fmt.Sprintf("account/%d", n) }
	ctx, cancel := limited()
	defer cancel()
	for n := range *accounts {
		if _, err := r.client.Put(ctx, account(n), "100"); err != nil {
			return err
		}
	}
	isolations := []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable}
	err := all(2*len(isolations), func(number int) error {
		for range *transfers {
			from, to := rand.IntN(*accounts), rand.IntN(*accounts)
			move := func(stm concurrency.STM) error {
				has, err := strconv.Atoi(stm.Get(account(from)))
				if err != nil {
					return err
				}
				amount := min(has, 1+rand.IntN(30))
				stm.Put(account(from), strconv.Itoa(has-amount))
				gets, err := strconv.Atoi(stm.Get(account(to)))
				if err != nil {
					return err
				}
				stm.Put(account(to), strconv.Itoa(gets+amount))
				return nil
			}
			isolation := concurrency.WithIsolation(isolations[number%len(isolations)])
			for {
				_, err := concurrency.NewSTM(r.client, move, isolation, concurrency.WithAbortContext(ctx))
				// Its second read asks for the revision of the first, of whichever node comes next, and one may be behind.
				if errors.Is(err, rpctypes.ErrFutureRev) {
					continue
				}
				if err != nil {
					return err
				}
				break
			}
			if err := audit(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
	return firstOf(err, audit(ctx, r))
}

func audit(ctx context.Context, r *run) error {
	got, err := r.client.Get(ctx, "account/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	sum := 0
	for _, kv := range got.Kvs {
		amount, err := strconv.Atoi(string(kv.Value))
		if err != nil {
			return err
		}
		sum += amount
	}
	r.say(line{"what": "audited", "sum": sum, "accounts": len(got.Kvs), "revision": got.Header.Revision})
	return nil
}
