/* The Python function that runs a program from rows to rows. In Python, its parts take longer than a small program, and
   more so after a large one, which leaves none of Python's data in the caches. cffi's code includes this file. */

#include <string.h>

#include "mocha.h"

static PyObject *run_rows(PyObject *self, PyObject *const *arrays, Py_ssize_t n) {
    mocha_rows *r = PyCapsule_GetPointer(self, NULL);
    Py_buffer rows, result;
    if (!r || n != 2) return PyErr_Format(PyExc_TypeError, "expected two arrays");
    if (PyObject_GetBuffer(arrays[0], &rows, PyBUF_SIMPLE)) return NULL;
    if (PyObject_GetBuffer(arrays[1], &result, PyBUF_WRITABLE)) {
        PyBuffer_Release(&rows);
        return NULL;
    }
    const int64_t count = r->row_bytes ? rows.len / r->row_bytes : 0;
    const int whole = rows.len == count * r->row_bytes && result.len == count * r->result_bytes;
    int reason = MOCHA_FAULT;
    if (whole && count > 0 && count <= r->rows) {
        mocha_run *run = r->run;
        char *end = r->input + rows.len;
        memcpy(r->input, rows.buf, (size_t)rows.len);
        for (int64_t i = count; i < r->rows; i++, end += r->row_bytes) {
            memcpy(end, end - r->row_bytes, (size_t)r->row_bytes);
        }
        *r->valid = (int32_t)count;
        run->part = run->step = run->minibatch = run->done = 0;
        if (run->taken < r->with_lock) {
            reason = mocha_advance(run);
        } else {
            Py_BEGIN_ALLOW_THREADS;
            reason = mocha_advance(run);
            Py_END_ALLOW_THREADS;
        }
        if (reason == MOCHA_FINISHED) memcpy(result.buf, r->result, (size_t)result.len);
    } else {
        PyErr_Format(PyExc_ValueError, "expected 1 to %zd rows of %zd bytes", (Py_ssize_t)r->rows,
                     (Py_ssize_t)r->row_bytes);
    }
    PyBuffer_Release(&rows);
    PyBuffer_Release(&result);
    return PyErr_Occurred() ? NULL : PyLong_FromLong(reason);
}

void *mocha_rows_function(mocha_rows *rows) {
    static PyMethodDef method = {"run_rows", (PyCFunction)(void (*)(void))run_rows, METH_FASTCALL, NULL};
    PyObject *self = PyCapsule_New(rows, NULL, NULL);
    PyObject *function = self ? PyCFunction_NewEx(&method, self, NULL) : NULL;
    Py_XDECREF(self);
    return function;
}
