package lease

import (
	"encoding/binary"

	"postel/internal/kv"
	"postel/internal/mail"
)

// version is the first octet of each value.
const version = 1

func lockNodes() []kv.Key { return []kv.Key{kv.LockNodes()} }

func nodeKey(id uint64) kv.Key { return kv.K(kv.Nodes).U64(id) }

// nodeRow is a row of nd.
type nodeRow struct {
	id    uint64 // of the key
	beat  uint64
	since uint64 // Unix milliseconds
	name  string
}

func (r *nodeRow) encode() []byte {
	b := binary.AppendUvarint([]byte{version}, r.beat)
	b = binary.AppendUvarint(b, r.since)
	return append(b, r.name...)
}

func decodeNode(k kv.Key, v []byte) (r nodeRow, err error) {
	if len(k) != 2+8 || len(v) == 0 || v[0] != version {
		return r, damaged("nd")
	}
	r.id = binary.BigEndian.Uint64(k[2:])
	beat, n := binary.Uvarint(v[1:])
	if n <= 0 {
		return r, damaged("nd")
	}
	since, m := binary.Uvarint(v[1+n:])
	if m <= 0 {
		return r, damaged("nd")
	}
	r.beat, r.since, r.name = beat, since, string(v[1+n+m:])
	return r, nil
}

// readNode gives a node's row; Kind NotFound.
func readNode(r kv.Reader, id uint64) (nodeRow, error) {
	v, err := r.Get(nodeKey(id))
	if err != nil {
		return nodeRow{}, err
	}
	return decodeNode(nodeKey(id), v)
}

// leaseRow is a row of ls.
type leaseRow struct {
	node, epoch uint64
}

func (r leaseRow) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{version}, r.node)
	return binary.AppendUvarint(b, r.epoch)
}

func decodeLease(v []byte) (r leaseRow, err error) {
	if len(v) < 10 || v[0] != version {
		return r, damaged("ls")
	}
	epoch, n := binary.Uvarint(v[9:])
	if n != len(v)-9 {
		return r, damaged("ls")
	}
	return leaseRow{binary.BigEndian.Uint64(v[1:]), epoch}, nil
}

func damaged(table string) error {
	return mail.E("lease.row", mail.Internal, "a row of %s is damaged or of a newer format", table)
}
