// Checker reads what clients of a cluster were told, one operation a line in JSON, and says whether it is linearizable.
//
// The judge is porcupine (https://github.com/anishathalye/porcupine), so that the verdict is not by code of ours alone;
// what is ours here is the model: each key is a register with put, get and compare-and-set. An operation whose outcome is
// unknown may have happened at any time from its start on, or never; one that never returned is written as one that ends
// with the history. Keys are independent of each other, so each is judged alone.
//
// It prints {"verdict":"linearizable"|"violated"|"unknown","operations":N,"keys":N,"violated":[KEY…]} and ends with 0, 1
// or 3; 2 says that the history cannot be read.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is one line of a history. A value that is null is that of a key that does not exist.
type operation struct {
	Client    int     `json:"client"`
	Operation string  `json:"operation"` // put, get, cas
	Key       string  `json:"key"`
	Argument  string  `json:"argument"` // what a put or cas writes
	Expected  *string `json:"expected"` // what a cas expects
	StartNs   int64   `json:"start_ns"`
	EndNs     int64   `json:"end_ns"`
	Outcome   string  `json:"outcome"` // done, mismatch (of a cas), unknown, failed (it did not happen)
	Value     *string `json:"value"`   // what a get saw
}

// register is the state of a key.
type register struct {
	exists bool
	value  string
}

func of(value *string) register {
	if value == nil {
		return register{}
	}
	return register{exists: true, value: *value}
}

var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		keys := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(operation).Key
			keys[key] = append(keys[key], o)
		}
		parts := make([][]porcupine.Operation, 0, len(keys))
		for _, part := range keys {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() interface{} { return register{} },
	Step: func(state, input, _ interface{}) (bool, interface{}) {
		now, o := state.(register), input.(operation)
		switch o.Operation {
		case "put":
			return true, register{exists: true, value: o.Argument}
		case "get":
			return now == of(o.Value), now
		default:
			holds := now == of(o.Expected)
			next := now
			if holds {
				next = register{exists: true, value: o.Argument}
			}
			switch o.Outcome {
			case "done":
				return holds, next
			case "mismatch":
				return !holds, now
			default:
				return true, next
			}
		}
	},
}

func main() {
	patience := flag.Duration("patience", time.Minute, "how long may be searched, for each key")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: checker [-patience 1m] HISTORY")
		os.Exit(2)
	}
	operations, err := read(flag.Arg(0))
	if err != nil {
		fmt.Fprintf(os.Stderr, "checker: %v\n", err)
		os.Exit(2)
	}
	os.Exit(judge(operations, *patience))
}

func read(path string) ([]operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var operations []operation
	decoder := json.NewDecoder(bufio.NewReader(file))
	for {
		var o operation
		if err := decoder.Decode(&o); err == io.EOF {
			return operations, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: operation %d: %w", path, len(operations)+1, err)
		}
		if err := validate(o); err != nil {
			return nil, fmt.Errorf("%s: operation %d: %w", path, len(operations)+1, err)
		}
		operations = append(operations, o)
	}
}

func validate(o operation) error {
	switch o.Operation {
	case "put", "get", "cas":
	default:
		return fmt.Errorf("%q is no operation", o.Operation)
	}
	switch o.Outcome {
	case "done", "unknown", "failed":
	case "mismatch":
		if o.Operation != "cas" {
			return fmt.Errorf("a %s cannot mismatch", o.Operation)
		}
	default:
		return fmt.Errorf("%q is no outcome", o.Outcome)
	}
	if o.EndNs < o.StartNs {
		return fmt.Errorf("it ends before it starts")
	}
	return nil
}

// history is what has to be explained: what did not happen, and a get that saw nothing, need no explanation.
func history(operations []operation) []porcupine.Operation {
	var history []porcupine.Operation
	for _, o := range operations {
		if o.Outcome == "failed" || (o.Outcome == "unknown" && o.Operation == "get") {
			continue
		}
		end := o.EndNs
		if o.Outcome == "unknown" {
			end = math.MaxInt64
		}
		history = append(history, porcupine.Operation{ClientId: o.Client, Input: o, Call: o.StartNs, Return: end})
	}
	return history
}

type verdict struct {
	Verdict    string   `json:"verdict"`
	Operations int      `json:"operations"`
	Keys       int      `json:"keys"`
	Violated   []string `json:"violated"`
}

func judge(operations []operation, patience time.Duration) int {
	told := verdict{Verdict: "linearizable", Operations: len(operations), Violated: []string{}}
	code := 0
	for _, part := range model.Partition(history(operations)) {
		told.Keys++
		switch porcupine.CheckOperationsTimeout(model, part, patience) {
		case porcupine.Illegal:
			told.Violated = append(told.Violated, part[0].Input.(operation).Key)
			told.Verdict, code = "violated", 1
		case porcupine.Unknown:
			if code == 0 {
				told.Verdict, code = "unknown", 3
			}
		}
	}
	sort.Strings(told.Violated)
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		fmt.Fprintf(os.Stderr, "checker: %v\n", err)
		return 2
	}
	return code
}
