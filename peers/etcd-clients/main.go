// Command etcd-clients does what programs do with etcd's own client packages, and prints what it saw as lines of JSON. It
// judges nothing: the test that starts it does.
//
//	etcd-clients --endpoints URL,URL,... SCENARIO
//
// A scenario that goes on until it is told to stop ends when its standard input is closed.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// How long a connection may take, and one request of a scenario that is not about time.
const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 30 * time.Second
)

// line is one thing that happened; its fields are those that the scenario names.
type line map[string]any

// A run has what scenarios share.
type run struct {
	endpoints []string
	client    *clientv3.Client
	flags     *flag.FlagSet
	arguments []string
	// Ends with the program's standard input.
	told context.Context

	mutex sync.Mutex
	out   *bufio.Writer
}

var scenarios = map[string]func(*run) error{
	"mutex":     contendForMutex,
	"election":  holdElections,
	"stm":       transfer,
	"watch":     watchAndWrite,
	"lease":     keepAlive,
	"namespace": useNamespace,
	"ordering":  readInOrder,
	"mirror":    mirrorAll,
	"fill":      fill,
	"gap":       writeSteadily,
	"lag":       measureLag,
}

func main() {
	endpoints := flag.String("endpoints", "http://127.0.0.1:2379", "URLs, with commas between them")
	flag.Usage = func() {
		names := make([]string, 0, len(scenarios))
		for name := range scenarios {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: etcd-clients --endpoints URL,... %s\n", strings.Join(names, "|"))
	}
	flag.Parse()
	scenario, known := scenarios[flag.Arg(0)]
	if !known {
		flag.Usage()
		os.Exit(2)
	}
	if err := start(strings.Split(*endpoints, ","), flag.Args(), scenario); err != nil {
		fmt.Fprintf(os.Stderr, "etcd-clients: %s: %v\n", flag.Arg(0), err)
		os.Exit(1)
	}
}

func start(endpoints, arguments []string, scenario func(*run) error) error {
	client, err := connect(endpoints)
	if err != nil {
		return err
	}
	defer client.Close()
	told, tell := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		tell()
	}()
	r := &run{
		endpoints: endpoints,
		client:    client,
		flags:     flag.NewFlagSet(arguments[0], flag.ExitOnError),
		arguments: arguments[1:],
		told:      told,
		out:       bufio.NewWriter(os.Stdout),
	}
	err = scenario(r)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return firstOf(err, r.out.Flush())
}

func connect(endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		DialTimeout: dialTimeout,
		// What it warns of is seen in what it does.
		Logger: zap.NewNop(),
	})
}

// say prints a line at once: whoever reads decides by it what to do next.
func (r *run) say(said line) {
	text, err := json.Marshal(said)
	if err != nil {
		panic(err)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	_, _ = r.out.Write(append(text, '\n'))
	_ = r.out.Flush()
}

// parse reads the scenario's own flags.
func (r *run) parse() error { return r.flags.Parse(r.arguments) }

// all runs n of something at once and gives the first error.
func all(n int, one func(int) error) error {
	errors := make(chan error, n)
	for i := range n {
		go func() { errors <- one(i) }()
	}
	var first error
	for range n {
		first = firstOf(first, <-errors)
	}
	return first
}

func firstOf(errors ...error) error {
	for _, err := range errors {
		if err != nil {
			return err
		}
	}
	return nil
}

func limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), requestTimeout)
}
