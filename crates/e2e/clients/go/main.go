// The story of ../README.md with franz-go.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var bootstrap, topic, group string

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func produce(first, last int) {
	codecs := []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for i, codec := range codecs {
		client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ProducerBatchCompression(codec))
		check(err)
		var records []*kgo.Record
		for n := first; n < last; n++ {
			if n%len(codecs) == i {
				records = append(records, &kgo.Record{
					Topic: topic, Key: []byte(fmt.Sprintf("key-%d", n)), Value: []byte(fmt.Sprintf("value-%d", n)),
					Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(fmt.Sprint(n))}},
				})
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		check(client.ProduceSync(ctx, records...).FirstErr())
		cancel()
		client.Close()
	}
}

// A member of the group, with what it owns and what all members saw.
type member struct {
	client *kgo.Client
	mutex  sync.Mutex
	owned  int
	seen   []int
}

func join() *member {
	m := &member{}
	change := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			m.owned += sign * len(moved[topic])
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(300*time.Millisecond), kgo.SessionTimeout(10*time.Second),
		kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(change(-1)), kgo.OnPartitionsLost(change(-1)))
	check(err)
	m.client = client
	return m
}

func (m *member) owns() int {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.owned
}

func (m *member) take() {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	fetches := m.client.PollFetches(ctx)
	for _, failed := range fetches.Errors() {
		if failed.Err != context.DeadlineExceeded {
			check(failed.Err)
		}
	}
	fetches.EachRecord(func(r *kgo.Record) {
		var n int
		_, err := fmt.Sscanf(string(r.Key), "key-%d", &n)
		check(err)
		if string(r.Value) != fmt.Sprintf("value-%d", n) || len(r.Headers) != 1 || string(r.Headers[0].Value) != fmt.Sprint(n) {
			check(fmt.Errorf("wrong record %v", r))
		}
		m.seen = append(m.seen, n)
	})
}

func until(condition func() bool, members ...*member) {
	end := time.Now().Add(40 * time.Second)
	for !condition() {
		if time.Now().After(end) {
			check(fmt.Errorf("out of time"))
		}
		for _, m := range members {
			m.take()
		}
	}
}

func distinct(members ...*member) int {
	all := map[int]bool{}
	for _, m := range members {
		for _, n := range m.seen {
			all[n] = true
		}
	}
	return len(all)
}

func (m *member) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	check(m.client.CommitUncommittedOffsets(ctx))
	m.client.Close()
}

func main() {
	bootstrap, topic, group = os.Args[1], os.Args[2], os.Args[3]
	a := join()
	until(func() bool { return a.owns() == 4 }, a)
	alone := a.owns()
	b := join()
	until(func() bool { return a.owns() == 2 && b.owns() == 2 }, a, b)
	shared := []int{a.owns(), b.owns()}
	produce(0, 100)
	until(func() bool { return len(a.seen)+len(b.seen) >= 100 }, a, b)
	if len(a.seen)+len(b.seen) != 100 || distinct(a, b) != 100 {
		check(fmt.Errorf("read %v and %v", a.seen, b.seen))
	}
	a.leave()
	b.leave()
	produce(100, 120)
	c := join()
	until(func() bool { return len(c.seen) >= 20 }, c)
	c.take()
	c.leave()
	if len(c.seen) != 20 || distinct(c) != 20 {
		check(fmt.Errorf("resumed with %v", c.seen))
	}
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if strings.HasSuffix(dep.Path, "twmb/franz-go") {
				version = dep.Version
			}
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"client": "franz-go " + version, "produced": 120, "alone": alone, "shared": shared,
		"first": distinct(a, b), "resumed": len(c.seen), "headers": true,
	}))
}
