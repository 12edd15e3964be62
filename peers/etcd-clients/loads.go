package main

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// writeSteadily starts a put at every tick, whether or not the one before was answered, through all endpoints in turns, and
// tells when each was acknowledged. What passes between two of them is what a client of many sees of a leader that dies.
func writeSteadily(r *run) error {
	every := r.flags.Duration("every", 5*time.Millisecond, "the time between two puts")
	patience := r.flags.Duration("patience", 5*time.Second, "how long each of them may take")
	if err := r.parse(); err != nil {
		return err
	}
	began := time.Now()
	ticker := time.NewTicker(*every)
	defer ticker.Stop()
	var writing sync.WaitGroup
	for n := 0; ; n++ {
		select {
		case <-r.told.Done():
			writing.Wait()
			return nil
		case <-ticker.C:
		}
		writing.Add(1)
		go func() {
			defer writing.Done()
			ctx, cancel := context.WithTimeout(context.Background(), *patience)
			defer cancel()
			_, err := r.client.Put(ctx, fmt.Sprintf("gap/%d", n%1000), strconv.Itoa(n))
			said := line{"what": "acked", "at_us": time.Since(began).Microseconds()}
			if err != nil {
				said["what"], said["why"] = "failed", err.Error()
			}
			r.say(said)
		}()
	}
}

// fill puts so many keys of one size under a prefix, many at once.
func fill(r *run) error {
	prefix := r.flags.String("prefix", "fill/", "what the keys begin with")
	keys := r.flags.Int("keys", 1000, "how many there are")
	size := r.flags.Int("size", 256, "the bytes of each value")
	if err := r.parse(); err != nil {
		return err
	}
	const workers = 64
	value := strings.Repeat("v", *size)
	ctx, cancel := limited()
	defer cancel()
	err := all(workers, func(worker int) error {
		for n := worker; n < *keys; n += workers {
			if _, err := r.client.Put(ctx, fmt.Sprintf("%s%07d", *prefix, n), value); err != nil {
				return err
			}
		}
		return nil
	})
	r.say(line{"what": "filled", "keys": *keys})
	return err
}

// measureLag puts at a steady rate while watchers wait for it: each watch that hears of a put says how long after its
// acknowledgement that was, and what comes before the acknowledgement counts as nothing (etcd: `benchmark watch-latency`,
// which has one key).
func measureLag(r *run) error {
	keys := r.flags.Int("keys", 1, "how many keys are watched")
	watchers := r.flags.Int("watchers", 1000, "how many watches there are, spread over the keys")
	streams := r.flags.Int("streams", 10, "how many streams they share")
	rate := r.flags.Int("rate", 100, "puts a second")
	puts := r.flags.Int("puts", 300, "how many puts")
	if err := r.parse(); err != nil {
		return err
	}
	key := func(n int) string { return fmt.Sprintf("lag/%04d", n%*keys) }
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	heard := newHeard(*puts)
	for n := range *watchers {
		client := r.client
		if n < *streams {
			other, err := connect(r.endpoints)
			if err != nil {
				return err
			}
			defer other.Close()
			heard.clients = append(heard.clients, other)
			client = other
		} else {
			client = heard.clients[n%*streams]
		}
		created := client.Watch(watching, key(n), clientv3.WithCreatedNotify())
		if answer := <-created; !answer.Created {
			return fmt.Errorf("a watch was not created: %w", answer.Err())
		}
		go heard.listen(created)
	}
	ctx, cancel := limited()
	defer cancel()
	expected := 0
	for n := range *puts {
		expected += (*watchers + *keys - 1 - n%*keys) / *keys
	}
	var events []event
	collected := make(chan error, 1)
	go func() {
		var err error
		events, err = heard.collect(ctx, expected)
		collected <- err
	}()
	ticker := time.NewTicker(time.Second / time.Duration(*rate))
	defer ticker.Stop()
	for n := range *puts {
		<-ticker.C
		if _, err := r.client.Put(ctx, key(n), strconv.Itoa(n)); err != nil {
			return err
		}
		heard.acked[n] = time.Now()
	}
	if err := <-collected; err != nil {
		return err
	}
	heard.tell(r, events)
	return nil
}

// What a watch heard of: which put, and when.
type event struct {
	put int
	at  time.Time
}

type heardEvents struct {
	clients []*clientv3.Client
	acked   []time.Time
	events  chan []event
}

func newHeard(puts int) *heardEvents {
	return &heardEvents{acked: make([]time.Time, puts), events: make(chan []event, 1<<16)}
}

func (h *heardEvents) listen(answers clientv3.WatchChan) {
	for answer := range answers {
		at := time.Now()
		events := make([]event, 0, len(answer.Events))
		for _, told := range answer.Events {
			if put, err := strconv.Atoi(string(told.Kv.Value)); err == nil {
				events = append(events, event{put, at})
			}
		}
		h.events <- events
	}
}

// collect takes what the watches hear while the puts go on, so that none of them waits for whoever reads.
func (h *heardEvents) collect(ctx context.Context, expected int) ([]event, error) {
	events := make([]event, 0, expected)
	for len(events) < expected {
		select {
		case more := <-h.events:
			events = append(events, more...)
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d events came: %w", len(events), expected, ctx.Err())
		}
	}
	return events, nil
}

func (h *heardEvents) tell(r *run, events []event) {
	lags := make([]time.Duration, 0, len(events))
	for _, event := range events {
		lags = append(lags, max(0, event.at.Sub(h.acked[event.put])))
	}
	sort.Slice(lags, func(a, b int) bool { return lags[a] < lags[b] })
	at := func(share float64) float64 {
		return float64(lags[int(share*float64(len(lags)-1))].Microseconds()) / 1e3
	}
	r.say(line{"what": "lag", "events": len(lags), "p50_ms": at(0.5), "p99_ms": at(0.99)})
}
