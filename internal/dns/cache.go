package dns

import (
	"container/list"
	"sync"
	"time"
)

// question is a key of the cache.
type question struct {
	name string
	typ  Type
}

// cache keeps results until their TTL ends, the ones used longest ago making room. Its size is what its
// entries take in memory, roughly.
type cache struct {
	mu      sync.Mutex
	max     int
	size    int
	entries map[question]*list.Element
	order   *list.List // of *entry, the newest use in front
}

type entry struct {
	q     question
	r     result
	until time.Time
	size  int
}

func newCache(limit int) *cache {
	return &cache{max: limit, entries: map[question]*list.Element{}, order: list.New()}
}

// get gives a result that still holds, its TTL what is left of it.
func (c *cache) get(q question, now time.Time) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.entries[q]
	if !ok {
		return result{}, false
	}
	e := el.Value.(*entry)
	left := e.until.Sub(now)
	if left <= 0 {
		c.drop(el)
		return result{}, false
	}
	c.order.MoveToFront(el)
	r := e.r
	r.answer.TTL = min(left, r.answer.TTL)
	return r, true
}

// put keeps a result for its TTL; one with none, or too large for the cache, is not kept.
func (c *cache) put(q question, r result, now time.Time) {
	e := &entry{q, r, now.Add(r.answer.TTL), sizeOf(q, r)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[q]; ok {
		c.drop(el)
	}
	if r.answer.TTL <= 0 || e.size > c.max {
		return
	}
	c.entries[q] = c.order.PushFront(e)
	c.size += e.size
	for c.size > c.max {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(el *list.Element) {
	e := c.order.Remove(el).(*entry)
	delete(c.entries, e.q)
	c.size -= e.size
}

func (c *cache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries, c.size = map[question]*list.Element{}, 0
	c.order.Init()
}

// sizeOf estimates what an entry takes: the fixed parts and the text.
func sizeOf(q question, r result) int {
	n := 400 + len(q.name) + len(r.answer.Canonical)
	for _, rec := range r.answer.Records {
		n += 120 + len(rec.Host) + len(rec.Text) + len(rec.Cert.Data)
	}
	return n
}
