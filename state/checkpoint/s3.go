package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

// s3 is a store in a bucket of S3, or of what speaks its protocol; Google's
// does, with HMAC keys. gocloud's own drivers would bring the makers' SDKs:
// 9 MB of program for S3, 20 MB for Google's; this one costs one.
type s3 struct {
	client *minio.Client
	bucket string
}

// partSize is what an upload of unknown length is cut into. Files of the state
// are smaller, nearly all.
const partSize = 16 << 20

// openS3 opens the bucket of s3://BUCKET/…?endpoint=URL&region=NAME or
// gs://BUCKET/…. Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
// ~/.aws/credentials, or the machine's role.
func openS3(u *url.URL) (*blob.Bucket, error) {
	endpoint := "https://s3.amazonaws.com"
	if u.Scheme == "gs" {
		endpoint = "https://storage.googleapis.com"
	}
	q := u.Query()
	for k := range q {
		if k != "endpoint" && k != "region" {
			return nil, fmt.Errorf("its URL has the parameter %s; there are endpoint and region", k)
		}
	}
	e, err := url.Parse(cmp.Or(q.Get("endpoint"), os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), endpoint))
	if err != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https" || e.User != nil {
		return nil, errors.New("the endpoint is no URL like https://HOST:PORT")
	}
	c, err := minio.New(e.Host, &minio.Options{
		Secure: e.Scheme == "https",
		Region: cmp.Or(q.Get("region"), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}},
		}),
		MaxRetries: 5,
	})
	if err != nil {
		return nil, err
	}
	return blob.NewBucket(s3{c, u.Host}), nil
}

func (s3) ErrorCode(err error) gcerrors.ErrorCode {
	switch r := minio.ToErrorResponse(err); {
	case errors.Is(err, errNotDone):
		return gcerrors.Unimplemented
	case errors.Is(err, context.Canceled):
		return gcerrors.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return gcerrors.DeadlineExceeded
	case r.Code == "NoSuchKey" || r.Code == "NoSuchBucket" || r.StatusCode == http.StatusNotFound:
		return gcerrors.NotFound
	case r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized:
		return gcerrors.PermissionDenied
	}
	return gcerrors.Unknown
}

func (s3) As(any) bool             { return false }
func (s3) ErrorAs(error, any) bool { return false }
func (s3) Close() error            { return nil }

func (s s3) Attributes(ctx context.Context, key string) (*driver.Attributes, error) {
	i, err := s.client.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return nil, err
	}
	return &driver.Attributes{ModTime: i.LastModified, Size: i.Size, ETag: i.ETag, AsFunc: func(any) bool { return false }}, nil
}

func (s s3) ListPaged(ctx context.Context, o *driver.ListOptions) (*driver.ListPage, error) {
	if o.Delimiter != "" {
		return nil, errNotDone
	}
	page := &driver.ListPage{}
	for i := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: o.Prefix, Recursive: true}) {
		if i.Err != nil {
			return nil, i.Err
		}
		page.Objects = append(page.Objects, &driver.ListObject{Key: i.Key, ModTime: i.LastModified, Size: i.Size, AsFunc: func(any) bool { return false }})
	}
	return page, ctx.Err() // a listing that was cut short must not look whole
}

func (s s3) NewRangeReader(ctx context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (driver.Reader, error) {
	o := minio.GetObjectOptions{}
	switch {
	case length > 0:
		if err := o.SetRange(offset, offset+length-1); err != nil {
			return nil, err
		}
	case offset > 0:
		if err := o.SetRange(offset, 0); err != nil {
			return nil, err
		}
	}
	body, i, _, err := minio.Core{Client: s.client}.GetObject(ctx, s.bucket, key, o)
	if err != nil {
		return nil, err
	}
	r := &s3Reader{ReadCloser: body, attrs: driver.ReaderAttributes{ModTime: i.LastModified, Size: i.Size}}
	if length == 0 {
		r.ReadCloser = http.NoBody
		body.Close()
	}
	return r, nil
}

type s3Reader struct {
	io.ReadCloser
	attrs driver.ReaderAttributes
}

func (r *s3Reader) Attributes() *driver.ReaderAttributes { return &r.attrs }
func (r *s3Reader) As(any) bool                          { return false }

// NewTypedWriter gathers one part. Most objects end within it and are sent in
// one request; a longer one streams.
func (s s3) NewTypedWriter(ctx context.Context, key, _ string, _ *driver.WriterOptions) (driver.Writer, error) {
	return &s3Writer{ctx: ctx, s: s, key: key}, nil
}

type s3Writer struct {
	ctx  context.Context
	s    s3
	key  string
	buf  bytes.Buffer
	pipe *io.PipeWriter // set when the object is longer than a part
	done chan error
}

func (w *s3Writer) Write(p []byte) (int, error) {
	if w.pipe != nil {
		return w.pipe.Write(p)
	}
	w.buf.Write(p)
	if w.buf.Len() < partSize {
		return len(p), nil
	}
	var r *io.PipeReader
	r, w.pipe = io.Pipe()
	w.done = make(chan error, 1)
	go func() {
		err := w.put(io.MultiReader(&w.buf, r), -1)
		_ = r.CloseWithError(cmp.Or(err, io.ErrClosedPipe)) // always nil
		w.done <- err
	}()
	return len(p), nil
}

func (w *s3Writer) put(r io.Reader, size int64) error {
	_, err := w.s.client.PutObject(w.ctx, w.s.bucket, w.key, r, size, minio.PutObjectOptions{
		PartSize: partSize, ContentType: "application/octet-stream",
		DisableContentSha256: true, // the manifest has the hash, and signing piece by piece is what some servers get wrong
	})
	return err
}

func (w *s3Writer) Close() error {
	err := context.Cause(w.ctx)
	if w.pipe == nil {
		if err != nil {
			return err
		}
		return w.put(&w.buf, int64(w.buf.Len()))
	}
	_ = w.pipe.CloseWithError(err) // always nil; no error is the end
	return cmp.Or(<-w.done, err)
}

func (s3) Copy(context.Context, string, string, *driver.CopyOptions) error { return errNotDone }

func (s s3) Delete(ctx context.Context, key string, _ *driver.DeleteOptions) error {
	return s.client.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
}

func (s3) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errNotDone
}
