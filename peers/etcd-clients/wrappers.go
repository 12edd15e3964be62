package main

import (
	"context"
	"errors"
	"fmt"
	"sort"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

// useNamespace does everything below a prefix, and then looks from above.
func useNamespace(r *run) error {
	ctx, cancel := limited()
	defer cancel()
	const prefix = "tenant/"
	kv := namespace.NewKV(r.client.KV, prefix)
	watcher := namespace.NewWatcher(r.client.Watcher, prefix)
	lease := namespace.NewLease(r.client.Lease, prefix)
	granted, err := lease.Grant(ctx, 60)
	if err != nil {
		return err
	}
	put, err := kv.Put(ctx, "a", "1", clientv3.WithLease(granted.ID))
	if err != nil {
		return err
	}
	answered, err := kv.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("a"), "=", "1")).
		Then(clientv3.OpPut("b", "2"), clientv3.OpGet("", clientv3.WithPrefix())).
		Commit()
	if err != nil {
		return err
	}
	ranged := keysOf((*clientv3.GetResponse)(answered.Responses[1].GetResponseRange()))
	r.say(line{"what": "inside", "succeeded": answered.Succeeded, "keys": ranged})
	for answer := range watcher.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(put.Header.Revision)) {
		for _, event := range answer.Events {
			r.say(line{"what": "event", "key": string(event.Kv.Key)})
			if string(event.Kv.Key) == "b" {
				return r.lookFromAbove(ctx, lease, granted.ID)
			}
		}
	}
	return errors.New("the watch ended")
}

func (r *run) lookFromAbove(ctx context.Context, lease clientv3.Lease, id clientv3.LeaseID) error {
	left, err := lease.TimeToLive(ctx, id, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	attached := make([]string, 0, len(left.Keys))
	for _, key := range left.Keys {
		attached = append(attached, string(key))
	}
	got, err := r.client.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	r.say(line{"what": "above", "keys": keysOf(got), "attached": attached})
	return nil
}

func keysOf(got *clientv3.GetResponse) []string {
	keys := make([]string, 0, len(got.Kvs))
	for _, kv := range got.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

// readInOrder reads without asking for the newest, from whichever node comes next, through the package that goes to
// another one rather than back in time.
func readInOrder(r *run) error {
	reads := r.flags.Int("reads", 200, "how many reads")
	if err := r.parse(); err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	kv := ordering.NewKV(r.client.KV, ordering.NewOrderViolationSwitchEndpointClosure(r.client))
	for n := range *reads {
		if _, err := kv.Put(ctx, "ordered", fmt.Sprint(n)); err != nil {
			return err
		}
		got, err := kv.Get(ctx, "ordered", clientv3.WithSerializable())
		if errors.Is(err, ordering.ErrNoGreaterRev) {
			// Every node was behind what was read already: it says so rather than go back.
			continue
		}
		if err != nil {
			return err
		}
		r.say(line{"what": "read", "revision": got.Header.Revision, "member": fmt.Sprint(got.Header.MemberId)})
	}
	return nil
}

// mirrorAll copies a prefix into memory: what was there first, and then what changes.
func mirrorAll(r *run) error {
	keys := r.flags.Int("keys", 1500, "how many keys there are first")
	if err := r.parse(); err != nil {
		return err
	}
	ctx, cancel := limited()
	defer cancel()
	key := func(n int) string { return fmt.Sprintf("source/%05d", n) }
	err := all(16, func(worker int) error {
		for n := worker; n < *keys; n += 16 {
			if _, err := r.client.Put(ctx, key(n), "first"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	copied := map[string]string{}
	syncer := mirror.NewSyncer(r.client, "source/", 0)
	base, failed := syncer.SyncBase(ctx)
	for page := range base {
		for _, kv := range page.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
	}
	if err := <-failed; err != nil {
		return err
	}
	r.say(line{"what": "base", "keys": len(copied)})
	updates := syncer.SyncUpdates(ctx)
	_, err = r.client.Txn(ctx).Then(clientv3.OpPut(key(0), "second"), clientv3.OpDelete(key(1))).Commit()
	if err != nil {
		return err
	}
	if _, err := r.client.Put(ctx, "source/last", ""); err != nil {
		return err
	}
	for answer := range updates {
		for _, event := range answer.Events {
			if event.Type == clientv3.EventTypeDelete {
				delete(copied, string(event.Kv.Key))
			} else {
				copied[string(event.Kv.Key)] = string(event.Kv.Value)
			}
		}
		if _, ended := copied["source/last"]; ended {
			break
		}
	}
	return r.compareWith(ctx, copied)
}

// compareWith tells how a copy differs from what is there.
func (r *run) compareWith(ctx context.Context, copied map[string]string) error {
	got, err := r.client.Get(ctx, "source/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	differs := []string{}
	for _, kv := range got.Kvs {
		if value, there := copied[string(kv.Key)]; !there || value != string(kv.Value) {
			differs = append(differs, string(kv.Key))
		}
		delete(copied, string(kv.Key))
	}
	for key := range copied {
		differs = append(differs, key)
	}
	sort.Strings(differs)
	r.say(line{"what": "mirrored", "keys": len(got.Kvs), "differs": differs})
	return nil
}
