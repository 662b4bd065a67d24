// SPDX-License-Identifier: GPL-2.0
/*
 * Answers the upcalls one by one. The id of a file is its index in a table,
 * from 1; the id of the folder is 0. Unknown upcalls get EOPNOTSUPP.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve.h"
#include "wire.h"

#define MAX_FILES	16
#define FOLDER		0
#define NOT_CHANGED	((u_quad_t)-1)

struct venus {
	int dev;
	int folder;
	char names[MAX_FILES][64];
	uint32_t count;
};

/* @result is 0 or an errno. With an errno, the kernel reads only the header. */
static void reply(struct venus *venus, const union inputArgs *in, int result,
		  union outputArgs *out, size_t len)
{
	out->oh.opcode = in->ih.opcode;
	out->oh.unique = in->ih.unique;
	out->oh.result = result;
	/* Ignore ESRCH: the requesting process was killed. */
	(void)!write(venus->dev, out, result ? sizeof(out->oh) : len);
}

static uint32_t id_of(const struct CodaFid *fid)
{
	return fid->opaque[3];
}

static struct CodaFid fid_of(uint32_t id)
{
	/* The volume is 1, so no identifier is all zeros. */
	return (struct CodaFid) { .opaque = { 0, 1, 0, id } };
}

static int open_file(const struct venus *venus, uint32_t id, int flags)
{
	if (id >= venus->count)
		errno = ESTALE;
	else if (id == FOLDER)
		errno = EISDIR;
	else
		return openat(venus->folder, venus->names[id],
			      flags | O_CLOEXEC);
	return -1;
}

static struct coda_timespec time_of(const struct timespec *time)
{
	return (struct coda_timespec) { time->tv_sec, time->tv_nsec };
}

/* Returns 0 or an errno. The file is regular, whatever its container is. */
static int get_attr(const struct venus *venus, uint32_t id,
		    struct coda_vattr *attr)
{
	struct stat st;

	if (id >= venus->count)
		return ESTALE;
	if (fstatat(venus->folder, venus->names[id], &st, AT_EMPTY_PATH))
		return errno;
	*attr = (struct coda_vattr) {
		.va_type = id == FOLDER ? C_VDIR : C_VREG,
		.va_mode = st.st_mode & 07777,
		.va_nlink = st.st_nlink,
		.va_uid = st.st_uid,
		.va_gid = st.st_gid,
		.va_fileid = id,
		.va_size = st.st_size,
		.va_blocksize = st.st_blksize,
		.va_atime = time_of(&st.st_atim),
		.va_mtime = time_of(&st.st_mtim),
		.va_ctime = time_of(&st.st_ctim),
		.va_bytes = st.st_blocks * 512,
	};
	return 0;
}

static uint32_t find_file(const struct venus *venus, const char *name)
{
	uint32_t id;

	for (id = FOLDER + 1; id < venus->count; id++)
		if (!strcmp(venus->names[id], name))
			return id;
	return 0;
}

/* Returns the file's id, or 0 with errno set. */
static uint32_t add_file(struct venus *venus, const char *name)
{
	if (faccessat(venus->folder, name, F_OK, 0))
		return 0;
	if (venus->count == MAX_FILES || strlen(name) >= sizeof(*venus->names)) {
		errno = ENFILE;
		return 0;
	}
	strcpy(venus->names[venus->count], name);
	return venus->count++;
}

static void root(struct venus *venus, const union inputArgs *in)
{
	union outputArgs out = { .coda_root.VFid = fid_of(FOLDER) };

	reply(venus, in, 0, &out, sizeof(out.coda_root));
}

static void getattr(struct venus *venus, const union inputArgs *in)
{
	union outputArgs out = { };
	int err = get_attr(venus, id_of(&in->coda_getattr.VFid),
			   &out.coda_getattr.attr);

	reply(venus, in, err, &out, sizeof(out.coda_getattr));
}

/* The size of a file is the size of its container. */
static void setattr(struct venus *venus, const union inputArgs *in)
{
	u_quad_t size = in->coda_setattr.attr.va_size;
	union outputArgs out = { };
	int fd, err = 0;

	if (size != NOT_CHANGED) {
		fd = open_file(venus, id_of(&in->coda_setattr.VFid), O_WRONLY);
		err = fd < 0 || ftruncate(fd, size) ? errno : 0;
		close(fd);
	}
	reply(venus, in, err, &out, sizeof(out.oh));
}

static void lookup(struct venus *venus, const union inputArgs *in)
{
	const char *name = (const char *)in + in->coda_lookup.name;
	union outputArgs out = { };
	uint32_t id = find_file(venus, name);

	if (!id)
		id = add_file(venus, name);
	out.coda_lookup.VFid = fid_of(id);
	out.coda_lookup.vtype = C_VREG;
	reply(venus, in, id ? 0 : errno, &out, sizeof(out.coda_lookup));
}

/*
 * The kernel takes the container from our descriptor table while it reads the
 * answer. The container is open for writing too: a mapping can be writable.
 */
static void open_by_fd(struct venus *venus, const union inputArgs *in)
{
	int fd = open_file(venus, id_of(&in->coda_open_by_fd.VFid), O_RDWR);
	union outputArgs out = { .coda_open_by_fd.fd = fd };

	reply(venus, in, fd < 0 ? errno : 0, &out, sizeof(out.coda_open_by_fd));
	close(fd);
}

/*
 * Refuses the upcall, so the kernel does not repeat it for the same open file.
 * The end of an access needs no answer.
 */
static void access_intent(struct venus *venus, const union inputArgs *in)
{
	int type = in->coda_access_intent.type;
	union outputArgs out = { };

	if (type != CODA_ACCESS_TYPE_READ_FINISH &&
	    type != CODA_ACCESS_TYPE_WRITE_FINISH)
		reply(venus, in, EOPNOTSUPP, &out, sizeof(out.oh));
}

static void answer(struct venus *venus, const union inputArgs *in)
{
	union outputArgs out = { };

	switch (in->ih.opcode) {
	case CODA_ROOT:
		return root(venus, in);
	case CODA_GETATTR:
		return getattr(venus, in);
	case CODA_SETATTR:
		return setattr(venus, in);
	case CODA_LOOKUP:
		return lookup(venus, in);
	case CODA_OPEN_BY_FD:
		return open_by_fd(venus, in);
	case CODA_ACCESS_INTENT:
		return access_intent(venus, in);
	case CODA_ACCESS:
	case CODA_CLOSE:
	case CODA_FSYNC:
		return reply(venus, in, 0, &out, sizeof(out.oh));
	case CODA_SIGNAL:
		return;
	}
	reply(venus, in, EOPNOTSUPP, &out, sizeof(out.oh));
}

int serve(int dev, int folder)
{
	static union {
		union inputArgs in;
		char room[VC_MAXDATASIZE];
	} buffer;
	struct venus venus = { .dev = dev, .folder = folder, .count = 1 };

	for (;;) {
		if (read(dev, &buffer, sizeof(buffer)) > 0)
			answer(&venus, &buffer.in);
		else if (errno != EINTR)
			return 1;
	}
}
