package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// How long is waited between two attempts of a write that was refused.
const pause = 20 * time.Millisecond

// watchAndWrite writes keys under a prefix and watches them, by one watch that the client resumes by itself and by one that
// is made anew again and again from the revision after the last, until it is told to stop.
func watchAndWrite(r *run) error {
	writers := r.flags.Int("writers", 3, "how many write")
	if err := r.parse(); err != nil {
		return err
	}
	const prefix = "watched/"
	ctx, cancel := limited()
	defer cancel()
	got, err := r.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	after := got.Header.Revision
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	// Whoever reads the whole way finds this behind everything that was acknowledged.
	const last = prefix + "last"
	watchers := make(chan error, 2)
	go func() { watchers <- r.follow(watching, "kept", prefix, last, after, 0) }()
	go func() { watchers <- r.follow(watching, "renewed", prefix, last, after, 20) }()
	r.say(line{"what": "begins", "revision": after})

	err = all(*writers, func(number int) error {
		for n := 0; r.told.Err() == nil; n++ {
			r.write(fmt.Sprintf("%s%d/%d", prefix, number, n%10), fmt.Sprintf("%d-%d", number, n))
		}
		return nil
	})
	if err != nil {
		return err
	}
	ended, cancelEnd := limited()
	defer cancelEnd()
	for {
		if _, err = r.client.Put(ended, last, "last"); err == nil {
			break
		}
		if ended.Err() != nil {
			return fmt.Errorf("the last write: %w", err)
		}
		time.Sleep(pause)
	}
	for range 2 {
		select {
		case err := <-watchers:
			if err != nil {
				return err
			}
		case <-ended.Done():
			return errors.New("a watch did not come to the last write")
		}
	}
	r.say(line{"what": "ended"})
	return nil
}

// write puts once and says how that ended. A put that failed may have been done: it is told as unknown.
func (r *run) write(key, value string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	put, err := r.client.Put(ctx, key, value)
	if err != nil {
		r.say(line{"what": "unknown", "key": key, "value": value, "why": err.Error()})
		time.Sleep(pause)
		return
	}
	r.say(line{"what": "acked", "key": key, "value": value, "revision": put.Header.Revision})
}

// follow tells every event behind a revision until it comes to the key last. With a number it ends its watch after as many
// answers, and goes on with another one.
func (r *run) follow(ctx context.Context, name, prefix, last string, after int64, answersMax int) error {
	for {
		watching, stop := context.WithCancel(clientv3.WithRequireLeader(ctx))
		options := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(after + 1), clientv3.WithPrevKV()}
		if answersMax == 0 {
			stop()
			// Without a leader this one waits.
			watching, stop = context.WithCancel(ctx)
		}
		answers := 0
		for answer := range r.client.Watch(watching, prefix, options...) {
			if answer.CompactRevision != 0 {
				stop()
				return fmt.Errorf("%s: compacted at %d", name, answer.CompactRevision)
			}
			ended := false
			for _, event := range answer.Events {
				previous := int64(0)
				if event.PrevKv != nil {
					previous = event.PrevKv.ModRevision
				}
				ended = ended || string(event.Kv.Key) == last
				r.say(line{
					"what": "event", "watch": name, "key": string(event.Kv.Key), "value": string(event.Kv.Value),
					"revision": event.Kv.ModRevision, "previous": previous, "header": answer.Header.Revision,
				})
				after = event.Kv.ModRevision
			}
			if ended {
				stop()
				return nil
			}
			if answers++; answersMax > 0 && answers >= answersMax {
				break
			}
		}
		stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if answersMax == 0 {
			return fmt.Errorf("%s: the watch ended", name)
		}
	}
}

// keepAlive keeps a lease alive, and a key on it, until it is told to stop; then it lets the lease run out.
func keepAlive(r *run) error {
	seconds := r.flags.Int64("ttl", 3, "how long the lease lives, in seconds")
	if err := r.parse(); err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	lease, err := r.client.Grant(ctx, *seconds)
	if err != nil {
		return err
	}
	if _, err := r.client.Put(ctx, "leased", "value", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	keeping, stop := context.WithCancel(context.Background())
	defer stop()
	kept, err := r.client.KeepAlive(keeping, lease.ID)
	if err != nil {
		return err
	}
	deleted := r.client.Watch(keeping, "leased", clientv3.WithFilterPut(), clientv3.WithRev(lease.Revision))
	r.say(line{"what": "granted", "ttl": lease.TTL})
	for r.told.Err() == nil {
		select {
		case answer, open := <-kept:
			if !open {
				r.say(line{"what": "lost"})
				return nil
			}
			r.say(line{"what": "kept", "ttl": answer.TTL})
		case answer := <-deleted:
			if len(answer.Events) > 0 {
				r.say(line{"what": "lost"})
				return nil
			}
		case <-r.told.Done():
		}
	}
	stop()
	return r.runOut(lease.ID)
}

// runOut waits until the key of a lease that nobody keeps is gone.
func (r *run) runOut(id clientv3.LeaseID) error {
	ctx, cancel := limited()
	defer cancel()
	left, err := r.client.TimeToLive(ctx, id, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	r.say(line{"what": "left", "ttl": left.TTL, "granted": left.GrantedTTL, "keys": len(left.Keys)})
	began := time.Now()
	for answer := range r.client.Watch(ctx, "leased", clientv3.WithFilterPut(), clientv3.WithRev(left.Revision)) {
		if len(answer.Events) > 0 {
			r.say(line{"what": "ran-out", "after_ms": time.Since(began).Milliseconds()})
			return nil
		}
	}
	return errors.New("the lease did not run out")
}
