package s3test

import (
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const isoTime = "2006-01-02T15:04:05.000Z"

type listed struct {
	Key          string
	LastModified string
	ETag         string
	Size         int
}

// list answers ListObjectsV2, in pages.
func (s *Server) list(w http.ResponseWriter, bucket string, q url.Values) error {
	if q.Get("list-type") != "2" {
		return refusal{501, "NotImplemented"}
	}
	page := s.Page
	if page == 0 {
		page = 1000
	}
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil && n > 0 {
		page = min(page, n)
	}
	token, err := hex.DecodeString(q.Get("continuation-token"))
	if err != nil {
		return refusal{400, "InvalidArgument"}
	}
	out := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Name                  string
		KeyCount              int
		IsTruncated           bool
		EncodingType          string `xml:",omitempty"`
		NextContinuationToken string `xml:",omitempty"`
		Contents              []listed
	}{Name: bucket}
	for _, key := range slices.Sorted(maps.Keys(s.buckets[bucket])) {
		if !strings.HasPrefix(key, q.Get("prefix")) || key <= string(token) {
			continue
		}
		if len(out.Contents) == page {
			out.IsTruncated = true
			out.NextContinuationToken = hex.EncodeToString([]byte(out.Contents[page-1].Key))
			break
		}
		o := s.buckets[bucket][key]
		out.Contents = append(out.Contents, listed{key, o.changed.UTC().Format(isoTime), `"` + o.tag + `"`, len(o.body)})
	}
	out.KeyCount = len(out.Contents)
	if q.Get("encoding-type") == "url" {
		out.EncodingType = "url"
		for i := range out.Contents {
			out.Contents[i].Key = url.QueryEscape(out.Contents[i].Key)
		}
	}
	return writeXML(w, out)
}

// listUploads answers ListMultipartUploads, all on one page.
func (s *Server) listUploads(w http.ResponseWriter, bucket string, q url.Values) error {
	type entry struct {
		Key       string
		UploadId  string //nolint: S3's own spelling
		Initiated string
	}
	out := struct {
		XMLName     xml.Name `xml:"ListMultipartUploadsResult"`
		Bucket      string
		IsTruncated bool
		Upload      []entry
	}{Bucket: bucket}
	for id, u := range s.uploads {
		if u.bucket == bucket && strings.HasPrefix(u.key, q.Get("prefix")) {
			out.Upload = append(out.Upload, entry{u.key, id, u.began.UTC().Format(isoTime)})
		}
	}
	return writeXML(w, out)
}

// multipart does what an upload in parts is made of.
func (s *Server) multipart(w http.ResponseWriter, r *http.Request, bucket, key string, body []byte) error {
	q := r.URL.Query()
	if q.Has("uploads") {
		s.next++
		id := fmt.Sprintf("upload-%d", s.next)
		s.uploads[id] = &upload{bucket, key, time.Now(), map[int]object{}}
		_, _ = fmt.Fprintf(w, `<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>`, bucket, key, id)
		return nil
	}
	u := s.uploads[q.Get("uploadId")]
	if u == nil || u.bucket != bucket || u.key != key {
		return refusal{404, "NoSuchUpload"}
	}
	switch r.Method {
	case http.MethodPut:
		n, err := strconv.Atoi(q.Get("partNumber"))
		if err != nil || n < 1 || n > 10_000 {
			return refusal{400, "InvalidArgument"}
		}
		u.parts[n] = newObject(body)
		w.Header().Set("ETag", `"`+u.parts[n].tag+`"`)
		return nil
	case http.MethodDelete:
		delete(s.uploads, q.Get("uploadId"))
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPost:
		return s.complete(w, u, q.Get("uploadId"), body)
	}
	return refusal{405, "MethodNotAllowed"}
}

// complete makes an object of the parts that the client names.
func (s *Server) complete(w io.Writer, u *upload, id string, body []byte) error {
	var want struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(body, &want); err != nil || len(want.Part) == 0 {
		return refusal{400, "MalformedXML"}
	}
	var whole []byte
	for i, p := range want.Part {
		part, ok := u.parts[p.PartNumber]
		switch {
		case !ok || part.tag != strings.Trim(p.ETag, `"`):
			return refusal{400, "InvalidPart"}
		case i > 0 && p.PartNumber <= want.Part[i-1].PartNumber:
			return refusal{400, "InvalidPartOrder"}
		case i < len(want.Part)-1 && len(part.body) < s.leastPart():
			return refusal{400, "EntityTooSmall"}
		}
		whole = append(whole, part.body...)
	}
	o := newObject(whole)
	o.tag += fmt.Sprintf("-%d", len(want.Part))
	s.buckets[u.bucket][u.key] = o
	delete(s.uploads, id)
	_, err := fmt.Fprintf(w, `<CompleteMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><ETag>"%s"</ETag></CompleteMultipartUploadResult>`, u.bucket, u.key, o.tag)
	return err
}

func (s *Server) leastPart() int {
	if s.LeastPart > 0 {
		return s.LeastPart
	}
	return 5 << 20
}
