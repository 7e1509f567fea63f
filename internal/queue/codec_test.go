package queue

import (
	"bytes"
	"reflect"
	"testing"

	"postel/internal/mail"
)

// TestItemGrows: what an item came to hold stands at its end, and one that holds nothing of it is as it was before.
func TestItemGrows(t *testing.T) {
	t.Parallel()
	plain := Item{Destination: "a.test", From: mail.Address{Local: "x", Domain: "b.test"}, Recipients: make([]Recipient, 1)}
	shortest := plain.encode()
	for name, change := range map[string]func(it *Item){
		"nothing":   func(*Item) {},
		"via":       func(it *Item) { it.Via = "c.test:25" },
		"automatic": func(it *Item) { it.Automatic = true },
		"bulk":      func(it *Item) { it.Bulk, it.Via = true, "c.test:25" },
		"VERP":      func(it *Item) { it.Bulk, it.VERP = true, true },
		"forwarder": func(it *Item) { it.Forwarder = "d.test" },
		"all":       func(it *Item) { it.Automatic, it.Bulk, it.Via, it.Forwarder = true, true, "c.test:25", "d.test" },
	} {
		it := plain
		change(&it)
		b := it.encode()
		if !bytes.HasPrefix(b, shortest) || name == "nothing" && len(b) != len(shortest) {
			t.Errorf("%s: %x does not begin as %x", name, b, shortest)
		}
		back, err := decodeItem(it.ID, b)
		if err != nil {
			t.Fatal(name, err)
		}
		if back.Prefix = nil; !reflect.DeepEqual(*back, it) {
			t.Errorf("%s: %+v came back as %+v", name, it, *back)
		}
	}
}
